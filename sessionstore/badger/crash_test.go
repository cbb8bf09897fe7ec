package badger

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/serversession/caddy-server-session/sessionstore"
)

// The crash tests run this test binary again as a child that writes to a store
// and reports each acknowledged write through a pipe, and end it in the middle.
const (
	crashDir  = "SESSIONSTORE_CRASH_DIR" // makes a process such a child
	crashSync = "SESSIONSTORE_CRASH_SYNC"
	crashRun  = "SESSIONSTORE_CRASH_RUN"

	// crashFiles lets the child use up its file descriptors again and again.
	crashFiles = "SESSIONSTORE_CRASH_FILES"

	// crashRounds asks for more rounds than an ordinary test can take.
	crashRounds = "SESSIONSTORE_CRASH_ROUNDS"
)

// useUpFiles does it, where there is a test of it.
var useUpFiles func()

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, crashChild(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func rounds(otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(crashRounds)); err == nil {
		return n
	}
	return otherwise
}

// A crashKey lives through two writes: a creation and, depending on its number,
// a replacement, a deletion or a touch. Most workers make no urgent writes,
// which would slow them down.
type crashKey struct{ run, worker, number int }

func (k crashKey) String() string { return fmt.Sprintf("%d-%d-%d", k.run, k.worker, k.number) }

func (k crashKey) urgentWorker() bool { return k.worker%4 == 0 }

func (k crashKey) ttl() time.Duration {
	if k.urgentWorker() && k.number%8 == 0 {
		return 0
	}
	return time.Hour
}

type crashFate int

const (
	replaced crashFate = iota
	touched
	untouched
	deleted
)

func (k crashKey) fate() crashFate {
	if k.urgentWorker() {
		return crashFate(k.number % 4)
	}
	return crashFate(k.number % 3)
}

func (k crashKey) value(generation int) []byte {
	random := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, k, generation)))
	b := make([]byte, random.Uint64()%(16<<10))
	random.Read(b)
	return b
}

var crashSeen = time.UnixMilli(1<<42 + 1) // what a touched key was last seen

func crashChild(dir string) error {
	run, err := strconv.Atoi(os.Getenv(crashRun))
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: dir, SyncWrites: os.Getenv(crashSync) != ""})
	if err != nil {
		return err
	}
	if os.Getenv(crashFiles) != "" {
		go useUpFiles()
	}
	errs := make(chan error)
	for worker := range 8 {
		go func() {
			for number := 0; ; number++ {
				err := crashWrite(ctx, s, crashKey{run, worker, number})
				if errors.Is(err, sessionstore.ErrUnavailable) || errors.Is(err, sessionstore.ErrIndeterminate) {
					time.Sleep(time.Millisecond)
				} else if err != nil {
					errs <- err
				}
			}
		}()
	}
	return <-errs
}

func crashWrite(ctx context.Context, s *Store, k crashKey) error {
	acknowledge := func(generation int) {
		fmt.Fprintf(os.Stdout, "%d %d %d %d\n", k.worker, k.number, generation, time.Now().UnixMilli())
	}
	key := k.String()
	v, err := s.CompareAndSwap(ctx, key, sessionstore.Version{}, k.value(0), k.ttl())
	if err != nil {
		return err
	}
	acknowledge(0)
	switch k.fate() {
	case replaced:
		_, err = s.CompareAndSwap(ctx, key, v, k.value(1), k.ttl())
	case deleted:
		err = s.Delete(ctx, key)
	case touched:
		err = s.Touch(ctx, key, v, crashSeen, time.Hour)
	default:
		return nil
	}
	if err == nil {
		acknowledge(1)
	}
	return err
}

// crashLog is what children acknowledged, and when.
type crashLog map[crashKey][]time.Time

// runChild starts a child and, after a while, kills it.
func (l crashLog) runChild(t *testing.T, dir string, run int, life time.Duration, env ...string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir, crashRun+"="+strconv.Itoa(run))
	child.Env = append(child.Env, env...)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		k := crashKey{run: run}
		var generation int
		var at int64
		if _, err := fmt.Sscan(lines.Text(), &k.worker, &k.number, &generation, &at); err != nil {
			continue // cut off in the middle
		}
		if acknowledged++; acknowledged == 1 {
			time.AfterFunc(life, func() { child.Process.Kill() })
		}
		l[k] = append(l[k], time.UnixMilli(at))
	}
	if err := child.Wait(); child.ProcessState.Exited() {
		t.Errorf("the child ended by itself: %v", err)
	}
	if acknowledged == 0 {
		t.Fatal("the child acknowledged nothing")
	}
}

// verify holds the store to what was acknowledged. Of each key, the writes up
// to one that must survive have to be there; later ones may be.
func (l crashLog) verify(t *testing.T, s *Store, survives func(at time.Time, urgent bool) bool) {
	t.Helper()
	lost := 0
	for k, acknowledged := range l {
		must := -1
		for generation, at := range acknowledged {
			if survives(at, k.ttl() == 0 || generation == 1 && k.fate() == deleted) {
				must = generation
			}
		}
		ok := must < 0
		for generation := max(must, 0); generation < 2; generation++ {
			ok = ok || k.is(s, generation)
		}
		if !ok {
			if lost++; lost < 5 {
				r, err := s.Get(t.Context(), k.String())
				t.Errorf("%s: acknowledged %v, now %d bytes, seen %v, error %v", k, acknowledged, len(r.Value), r.LastSeen, err)
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d keys lost what was acknowledged", lost, len(l))
	}
}

// is reports whether the store holds what the write of a generation left.
func (k crashKey) is(s *Store, generation int) bool {
	r, err := s.Get(context.Background(), k.String())
	fate := untouched
	if generation == 1 {
		fate = k.fate()
	}
	if fate == deleted {
		return errors.Is(err, sessionstore.ErrNotFound)
	}
	value := k.value(0)
	if fate == replaced {
		value = k.value(1)
	}
	return err == nil && bytes.Equal(r.Value, value) && r.LastSeen.Equal(crashSeen) == (fate == touched)
}

func TestKill(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]string{"interval": "", "always": crashSync + "=1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := make(crashLog)
			for run := range rounds(3) {
				log.runChild(t, dir, run, time.Duration(50+rand.IntN(400))*time.Millisecond, env)
			}
			s := openTest(t, Options{Dir: dir})
			log.verify(t, s, func(time.Time, bool) bool { return true })
			t.Logf("%d keys", len(log))
		})
	}
}
