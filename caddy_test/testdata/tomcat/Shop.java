import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;

import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/**
 * A shop in a Tomcat with its defaults: the session is looked for in the cookie and in URLs, and its id
 * is put into URLs as long as the browser has not shown that it takes cookies. The arguments are an
 * address and a directory for Tomcat's files.
 */
public class Shop extends HttpServlet {
    public static void main(String[] args) throws Exception {
        String[] address = args[0].split(":");
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(args[1]);
        tomcat.setHostname(address[0]);
        tomcat.setPort(Integer.parseInt(address[1]));
        tomcat.getConnector().setProperty("address", address[0]);
        Path files = Files.createDirectories(Path.of(args[1], "files"));
        Context context = tomcat.addContext("", files.toString());
        Tomcat.addServlet(context, "shop", new Shop());
        context.addServletMappingDecoded("/", "shop");
        tomcat.start();
        tomcat.getServer().await();
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        HttpSession session = request.getSession();
        Integer visits = (Integer) session.getAttribute("visits");
        session.setAttribute("visits", visits == null ? 1 : visits + 1);
        if (request.getServletPath().equals("/buy")) {
            response.sendRedirect(response.encodeRedirectURL("/cart?from=buy#top"));
            return;
        }
        response.setContentType("text/plain");
        response.getWriter().printf("visits=%s id=%s asked=%s cookie=%s url=%s path=%s link=%s%n", session.getAttribute("visits"),
                session.getId(), request.getRequestedSessionId(), request.isRequestedSessionIdFromCookie(),
                request.isRequestedSessionIdFromURL(), request.getServletPath(), response.encodeURL("/cart"));
    }
}
