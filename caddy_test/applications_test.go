package caddy_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// application is a web application that knows nothing of any proxy. Both show
// the same pages (testdata/), so that one scripted visit serves both.
type application struct {
	name string
	// program is what it needs, in the words of need.
	program string
	addr    func() (string, error)

	// csrfCookie is the cookie in which scripts find the token for their requests.
	csrfCookie string
	// readable are the cookies that scripts read or write: they stay in the browser.
	readable []string
	// private are the cookies that a login leaves in a browser without the module.
	private []string
}

var applications = []application{
	{
		name: "Django", program: "django", addr: sync.OnceValues(startDjango),
		csrfCookie: "csrftoken",
		readable:   []string{"csrftoken", "theme"},
		private:    []string{"sessionid"},
	},
	{
		name: "PHP", program: "php", addr: sync.OnceValues(startPHP),
		csrfCookie: "XSRF-TOKEN",
		readable:   []string{"XSRF-TOKEN", "ui_lang", "theme"},
		private:    []string{"PHPSESSID", "remember", "cart"},
	},
}

// start returns the address of the application. One process serves all tests;
// visitors are told apart by their sessions, as in life.
func (a application) start(t *testing.T) string {
	t.Helper()
	need(t, a.program)
	addr, err := a.addr()
	if err != nil {
		t.Fatalf("start %s: %v", a.name, err)
	}
	return addr
}

func startDjango() (string, error) {
	python, err := requirements["django"]()
	if err != nil {
		return "", err
	}
	data, err := os.MkdirTemp(scratch, "django")
	if err != nil {
		return "", err
	}
	env := append(os.Environ(), "GUESTBOOK_DATA="+data, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	prepare := exec.Command(python, "manage.py", "prepare")
	prepare.Dir, prepare.Env = filepath.Join("testdata", "django"), env
	if out, err := prepare.CombinedOutput(); err != nil {
		return "", fmt.Errorf("manage.py prepare: %w\n%s", err, out)
	}
	return serve(env, prepare.Dir, python, "manage.py", "runserver", "--noreload", "{address}")
}

func startPHP() (string, error) {
	php, err := requirements["php"]()
	if err != nil {
		return "", err
	}
	sessions, err := os.MkdirTemp(scratch, "php")
	if err != nil {
		return "", err
	}
	// Without workers the server handles one request at a time, and three tabs
	// at once would be three tabs in a row.
	env := append(os.Environ(), "PHP_CLI_SERVER_WORKERS=4")
	return serve(env, filepath.Join("testdata", "php"), php, "-n",
		"-d", "session.save_path="+sessions, "-S", "{address}", "router.php")
}

var running struct {
	sync.Mutex
	processes []*exec.Cmd
}

// serve starts a server process, waits until it accepts connections and returns
// its address, which stands as {address} among the arguments.
func serve(env []string, dir, program string, args ...string) (string, error) {
	port, err := pickPort()
	if err != nil {
		return "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{address}", addr)
	}
	log, err := os.CreateTemp(scratch, "application-*.log")
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	running.Lock()
	running.processes = append(running.processes, cmd)
	running.Unlock()
	err = within(patience, func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return "", errors.Join(err, fmt.Errorf("%s said:\n%s", program, said))
	}
	return addr, nil
}

// stopApplications ends what serve started.
func stopApplications() {
	running.Lock()
	defer running.Unlock()
	for _, cmd := range running.processes {
		killGroup(cmd)
		_ = cmd.Wait()
	}
}
