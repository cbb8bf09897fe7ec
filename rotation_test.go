package serversession

import (
	"net/http"
	"strings"
	"testing"
)

// An attacker plants his own session cookie in a browser, whose user then logs
// in. The backend does what it should and sets a new cookie; so do we.
func TestFixation(t *testing.T) {
	for _, test := range []struct {
		name, method string
		before       string // what the planted session holds
		login        string
	}{
		{"first login", "POST", "lang=de; HttpOnly", "PHPSESSID=CANARY; Path=/"},
		{"new value", "POST", "PHPSESSID=planted; Path=/", "PHPSESSID=CANARY; Path=/"},
		{"by a redirect", "GET", "sessionid=planted; HttpOnly; Path=/", "sessionid=CANARY; HttpOnly; Path=/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, "rotate_on auto")
			planted := s.login(test.before)
			known := s.replayed(planted)
			status := http.StatusOK
			if test.method == "GET" {
				status = http.StatusFound
			}
			o := s.serve(request(test.method, "https://example.com/login", planted), setsWith(status, test.login))
			o.wantStatus(status)
			if !o.hasToken() {
				t.Fatalf("no new token: %q", o.lines())
			}
			victim := o.token()
			if victim == planted {
				t.Fatal("the token is the planted one")
			}
			if got := s.replayed(victim); !strings.Contains(got, "CANARY") {
				t.Errorf("the victim's backend got %q", got)
			}
			if got := s.replayed(planted); got != known {
				t.Errorf("the attacker sees %q, and knew %q", got, known)
			}
			// He changes nothing about the victim's session either.
			s.serve(get("https://example.com/", planted), sets("lang=evil; HttpOnly"))
			if got := s.replayed(victim); strings.Contains(got, "evil") {
				t.Errorf("the victim's backend got %q", got)
			}
		})
	}
}

// Frameworks that encrypt their cookie anew with each response do not get a new
// token for each request of a script. A form may be a login nevertheless.
func TestNoRotationOnOrdinaryPages(t *testing.T) {
	s := newSite(t, "rotate_on auto")
	token := s.login("laravel_session=0; HttpOnly; Path=/")
	for _, value := range []string{"1", "2", "3"} {
		o := s.serve(get("https://example.com/", token), sets("laravel_session="+value+"; HttpOnly; Path=/"))
		o.wantLines()
	}
	byScript := says(request("POST", "https://example.com/", token), "same-origin", "cors", "empty")
	o := s.serve(byScript, sets("laravel_session=4; HttpOnly; Path=/"))
	o.wantLines()
	if got := s.replayed(token); got != "laravel_session=4" {
		t.Errorf("the backend got %q", got)
	}
	o = s.serve(request("POST", "https://example.com/", token), sets("laravel_session=5; HttpOnly; Path=/"))
	if !o.hasToken() {
		t.Error("a form that may be a login brought no new token")
	}
}

func TestRotateOn(t *testing.T) {
	for options, want := range map[string]bool{
		"rotate_on auto": true,
		"rotate_on off":  false,
		"rotate_on user": false,
		"rotate_on PHP*": true,
	} {
		s := newSite(t, options)
		token := s.login("lang=de; HttpOnly")
		o := s.serve(request("POST", "https://example.com/", token), sets("PHPSESSID=1; Path=/"))
		if o.hasToken() != want {
			t.Errorf("%q: rotated: %v", options, o.hasToken())
		}
	}
}

func setsWith(status int, line string) backend {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Add("Set-Cookie", line)
		w.WriteHeader(status)
		return nil
	}
}
