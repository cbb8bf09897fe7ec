package cookie

import (
	"strings"
	"testing"
)

func TestRequestPath(t *testing.T) {
	for target, want := range map[string]string{
		"/":                             "/",
		"/shop/cart?item=/a/b":          "/shop/cart",
		"/?":                            "/",
		"/a?b?c":                        "/a",
		"//a//b/":                       "//a//b/",
		"/f%6Fo/%2F%2f":                 "/f%6Fo/%2F%2f",
		"/a;jsessionid=1/b":             "/a;jsessionid=1/b",
		"/a/../b/.":                     "/a/../b/.",
		"/\xff \"":                      "/\xff \"",
		"/http://x/y":                   "/http://x/y",
		"http://shop.example.org/a/b?c": "/a/b",
		"https://shop.example.org":      "/",
		"https://shop.example.org?a=/b": "/",
		"http://[::1]:80/a":             "/a",
		"*":                             "/",
		"shop.example.org:443":          "/",
		"":                              "/",
		"?a=/b":                         "/",
		"a/b":                           "/",
	} {
		if got := RequestPath(target); got != want {
			t.Errorf("RequestPath(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestDefaultPath(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/a": "/", "/a/": "/a", "/a/b": "/a", "/a/b/": "/a/b", "//": "/", "//a": "/", "/a//b": "/a/",
		"": "/", "a/b": "/", "*": "/", "/a%2Fb": "/", "/a%20b/c": "/a%20b",
	} {
		if got := defaultPath(path); got != want {
			t.Errorf("defaultPath(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestPathMatch(t *testing.T) {
	for _, test := range []struct {
		request, cookie string
		want            bool
	}{
		{"/", "/", true},
		{"/a", "/", true},
		{"/a", "/a", true},
		{"/a/", "/a", true},
		{"/a/b", "/a", true},
		{"/a/b", "/a/", true},
		{"/a", "/a/", false},
		{"/ab", "/a", false},
		{"/a", "/ab", false},
		{"/a/b", "/a/b/c", false},
		{"/A", "/a", false},
		{"/a%2Fb", "/a", false},
		{"/%61", "/a", false},
		{"/a%2fb", "/a%2Fb", false},
		{"//a", "/a", false},
		{"//a", "/", true},
		{"/a;x", "/a", false},
		{"/a b/c", "/a b", true},
	} {
		if got := pathMatch(test.request, test.cookie); got != test.want {
			t.Errorf("pathMatch(%q, %q) = %v", test.request, test.cookie, got)
		}
	}
}

func FuzzPathMatch(f *testing.F) {
	for _, s := range [][2]string{{"/a/b?c", "/a"}, {"http://h/a", "/"}, {"*", "/"}, {"//", "//"}, {"", ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, target, cookiePath string) {
		path := RequestPath(target)
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "?") || !strings.Contains(target+"/", path) {
			t.Errorf("RequestPath(%q) = %q", target, path)
		}
		// The cookie comes back where it was set.
		if !pathMatch(path, defaultPath(path)) {
			t.Errorf("%q does not match its default path %q", path, defaultPath(path))
		}
		if cookiePath == "" || cookiePath[0] != '/' {
			return // a jar has no such paths
		}
		want := path == cookiePath || strings.HasPrefix(path, strings.TrimSuffix(cookiePath, "/")+"/")
		if got := pathMatch(path, cookiePath); got != want {
			t.Errorf("pathMatch(%q, %q) = %v", path, cookiePath, got)
		}
	})
}
