package caddy_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A parser is code that makes cookies of a Cookie header in a real backend.
type parser struct {
	name string
	// program is what it needs beyond Go, in the words of need.
	program string
	// parse returns what an application would find, for each header. Where
	// a name occurs twice and an application can see both, both are there.
	parse func(program string, headers []string) ([][]pair, error)
	// key is the name under which an application finds a cookie, if not its own.
	key func(name string) string
}

type pair struct{ name, value string }

func (p *pair) UnmarshalJSON(data []byte) error {
	var both [2]string
	err := json.Unmarshal(data, &both)
	p.name, p.value = both[0], both[1]
	return err
}

var parsers = []parser{
	{name: "PHP", program: "php", parse: askPHP, key: phpKey},
	{name: "SimpleCookie", program: "django", parse: filter("{program}", "cookies.py", "simplecookie")},
	{name: "Django", program: "django", parse: filter("{program}", "cookies.py", "django")},
	{name: "Node cookie", program: "node-cookie", parse: filter("node", "cookies.js", "{program}")},
	{name: "Tomcat", program: "tomcat10", parse: filter("java", "-cp", "{program}", "Cookies.java", "org.apache.tomcat.util.http.Rfc6265CookieProcessor")},
	{name: "Tomcat legacy", program: "tomcat9", parse: filter("java", "-cp", "{program}", "Cookies.java", "org.apache.tomcat.util.http.LegacyCookieProcessor")},
	{name: "Go", parse: askGo},
}

func init() {
	requirements["node-cookie"] = sync.OnceValues(findNodeCookie)
	requirements["tomcat10"] = sync.OnceValues(func() (string, error) { return findTomcat("tomcat10") })
	// Tomcat 9 has the legacy processor still.
	requirements["tomcat9"] = sync.OnceValues(func() (string, error) { return findTomcat("tomcat9") })
}

// findNodeCookie returns the directory of the package cookie, for a node that
// is there.
func findNodeCookie() (string, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", err
	}
	const debian = "/usr/share/nodejs/cookie"
	_, err := os.Stat(debian)
	return debian, err
}

// findTomcat returns the class path of a Tomcat, for a java that is there and
// compiles.
func findTomcat(version string) (string, error) {
	for _, program := range []string{"java", "javac"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", err
		}
	}
	var jars []string
	for _, jar := range []string{"catalina", "coyote", "util", "util-scan", "juli", "servlet-api", "annotations-api", "jaspic-api", "el-api", "jsp-api", "jni", "api"} {
		path := filepath.Join("/usr/share/java", version+"-"+jar+".jar")
		if _, err := os.Stat(path); err != nil {
			return "", err
		}
		jars = append(jars, path)
	}
	return strings.Join(jars, string(os.PathListSeparator)), nil
}

// available says whether a parser can be asked, and with what.
func (p *parser) available() (program string, ok bool) {
	if p.program == "" {
		return "", true
	}
	program, err := requirements[p.program]()
	return program, err == nil
}

// verdict says what the parser finds under the name of a cookie whose value is
// stored, whatever the case: '+' that value and nothing else, '-' nothing, and
// '!' anything else.
func (p *parser) verdict(found []pair, name, stored string) byte {
	value := stored
	if p.key != nil {
		if key := p.key(name); key != name && strings.HasSuffix(name, "]") {
			element := strings.TrimSuffix(name[strings.IndexByte(name, '[')+1:], "]")
			value = fmt.Sprintf(`{"%s":"%s"}`, element, stored)
			name = key
		} else {
			name = key
		}
	}
	verdict := byte('-')
	for _, c := range found {
		switch {
		case !strings.EqualFold(turkish.Replace(c.name), name):
		case c.name == name && c.value == value:
			if verdict == '-' {
				verdict = '+'
			}
		default:
			verdict = '!'
		}
	}
	return verdict
}

// turkish undoes what equalsIgnoreCase of Java folds and EqualFold does not.
var turkish = strings.NewReplacer("\u0130", "i", "\u0131", "i")

// phpKey is the key of $_COOKIE for a name: brackets make an array of what
// stands before them, and dots and spaces become underscores.
func phpKey(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return strings.NewReplacer(".", "_", " ", "_").Replace(name)
}

// askGo is net/http's parser.
func askGo(_ string, headers []string) ([][]pair, error) {
	all := make([][]pair, len(headers))
	for i, header := range headers {
		r := http.Request{Header: http.Header{"Cookie": {header}}}
		for _, c := range r.Cookies() {
			all[i] = append(all[i], pair{c.Name, c.Value})
		}
	}
	return all, nil
}

// askPHP sends each header to PHP's own web server, because only a request
// makes PHP parse cookies.
func askPHP(program string, headers []string) ([][]pair, error) {
	addr, err := serve(os.Environ(), filepath.Join("testdata", "parsers"), program,
		"-n", "-d", "display_errors=0", "-S", "{address}", "cookies.php")
	if err != nil {
		return nil, err
	}
	all := make([][]pair, len(headers))
	for i, header := range headers {
		if all[i], err = askOverHTTP(addr, header); err != nil {
			return nil, fmt.Errorf("%.300q: %w", header, err)
		}
	}
	return all, nil
}

func askOverHTTP(addr, header string) (found []pair, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: app.test\r\nCookie: %s\r\nConnection: close\r\n\r\n", header)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("%w in %.300q", err, body)
	}
	return found, nil
}

// filter returns a parse function that runs a program of testdata/parsers. It
// reads headers from its standard input, each a line of base64, and writes
// what it finds in each as a line of JSON.
func filter(command ...string) func(string, []string) ([][]pair, error) {
	return func(program string, headers []string) ([][]pair, error) {
		var in, complaints bytes.Buffer
		for _, header := range headers {
			in.WriteString(base64.StdEncoding.EncodeToString([]byte(header)) + "\n")
		}
		args := make([]string, len(command))
		for i, arg := range command {
			args[i] = strings.ReplaceAll(arg, "{program}", program)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = filepath.Join("testdata", "parsers")
		cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
		cmd.Stdin, cmd.Stderr = &in, &complaints
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, tail(complaints.String(), 20))
		}
		lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(lines) != len(headers) {
			return nil, fmt.Errorf("%s: %d answers for %d headers", strings.Join(args, " "), len(lines), len(headers))
		}
		all := make([][]pair, len(headers))
		for i, line := range lines {
			if err := json.Unmarshal([]byte(line), &all[i]); err != nil {
				return nil, fmt.Errorf("%s: %w in %.300q", strings.Join(args, " "), err, line)
			}
		}
		return all, nil
	}
}

// TestVerdict: what the firewall tests take for an override.
func TestVerdict(t *testing.T) {
	t.Parallel()
	php, other := &parsers[0], &parsers[1]
	for _, test := range []struct {
		parser *parser
		name   string
		found  []pair
		want   byte
	}{
		{other, "sid", nil, '-'},
		{other, "sid", []pair{{"sid", "good"}, {"x", "evil"}}, '+'},
		{other, "sid", []pair{{"sid", "evil"}}, '!'},
		{other, "sid", []pair{{"sid", "good"}, {"SID", "evil"}}, '!'},
		{other, "sid", []pair{{"SID", "evil"}, {"sid", "good"}}, '!'},
		{other, "sid", []pair{{"sid", ""}}, '!'},
		{other, "sid", []pair{{"\u017fid", "evil"}}, '!'},
		{other, "sid", []pair{{"s\u0131d", "evil"}}, '!'},
		{other, "a.b", []pair{{"a_b", "evil"}}, '-'},
		{php, "a.b", []pair{{"a_b", "good"}}, '+'},
		{php, "a.b", []pair{{"a_b", "evil"}}, '!'},
		{php, "a", []pair{{"a", `{"x":"evil"}`}}, '!'},
		{php, "a[x]", []pair{{"a", `{"x":"good"}`}}, '+'},
		{php, "a[x]", []pair{{"a", `{"x":"good","y":"evil"}`}}, '!'},
		{php, "a[x]", []pair{{"a", "good"}}, '!'},
	} {
		if got := test.parser.verdict(test.found, test.name, "good"); got != test.want {
			t.Errorf("%s: %q in %q is %c, want %c", test.parser.name, test.name, test.found, got, test.want)
		}
	}
}
