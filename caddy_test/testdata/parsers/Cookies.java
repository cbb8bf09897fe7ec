import java.util.Base64;
import java.util.Scanner;

import org.apache.tomcat.util.http.CookieProcessor;
import org.apache.tomcat.util.http.MimeHeaders;
import org.apache.tomcat.util.http.ServerCookie;
import org.apache.tomcat.util.http.ServerCookies;

/**
 * Reads Cookie headers, one a line in base64, and writes what one of Tomcat's cookie processors makes
 * of each: a list of [name, value] in JSON. The argument is the class of the processor.
 */
public class Cookies {
    public static void main(String[] args) throws Exception {
        CookieProcessor processor = (CookieProcessor) Class.forName(args[0]).getDeclaredConstructor().newInstance();
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            byte[] header = Base64.getDecoder().decode(lines.nextLine());
            MimeHeaders headers = new MimeHeaders();
            headers.addValue("Cookie").setBytes(header, 0, header.length);
            ServerCookies cookies = new ServerCookies(16);
            try {
                processor.parseCookieHeader(headers, cookies);
            } catch (RuntimeException e) {
                System.out.println("[]"); // the request fails
                continue;
            }

            StringBuilder out = new StringBuilder("[");
            for (int i = 0; i < cookies.getCookieCount(); i++) {
                ServerCookie cookie = cookies.getCookie(i);
                // As the connector does when it makes the cookies of a request.
                cookie.getValue().getByteChunk().setCharset(processor.getCharset());
                out.append(i > 0 ? "," : "").append('[').append(quote(cookie.getName().toString())).append(',')
                        .append(quote(unescape(cookie.getValue().toString()))).append(']');
            }
            System.out.println(out.append("]"));
        }
    }

    /** Undoes backslashes, as the connector does. */
    private static String unescape(String s) {
        if (s == null) {
            return "";
        }
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < s.length(); i++) {
            if (s.charAt(i) == '\\' && i + 1 < s.length()) {
                i++;
            }
            out.append(s.charAt(i));
        }
        return out.toString();
    }

    private static String quote(String s) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c < ' ' || c > '~' || c == '"' || c == '\\') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }
}
