package caddy_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// storeDir is the directory of the default store.
func (s *server) storeDir() string { return filepath.Join(s.dataDir(), "server_session") }

// dump is what a thief of the store gets: the bytes of all its files, without
// the zeros at the end of those that were made larger than they are.
func (s *server) dump() map[string][]byte {
	s.t.Helper()
	files := make(map[string][]byte)
	err := filepath.WalkDir(s.storeDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // a running store removes files while we walk
		}
		if data, err := os.ReadFile(path); err == nil {
			files[entry.Name()] = bytes.TrimRight(data, "\x00")
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		s.t.Fatalf("the store %s has %d files, %v", s.storeDir(), len(files), err)
	}
	return files
}

// encodings are the forms in which a binary secret is recognised.
func encodings(secret []byte) []string {
	return []string{
		string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		base64.RawStdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
	}
}

// bearer is a token taken apart, as docs/security.md describes it.
type bearer struct {
	value  string
	key    []byte
	secret []byte
}

func parseBearer(t *testing.T, session string) bearer {
	t.Helper()
	_, value, _ := strings.Cut(session, "=")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != 53 {
		t.Fatalf("a token of %d bytes: %v", len(raw), err)
	}
	return bearer{value, raw[1:5], raw[5:37]}
}

// findings are the places in a dump where a secret stands, in any encoding.
func findings(files map[string][]byte, what string, secret []byte) (found []string) {
	for name, data := range files {
		for _, form := range encodings(secret) {
			if bytes.Contains(data, []byte(form)) {
				found = append(found, what+" in "+name)
				break
			}
		}
	}
	return found
}

// sealedRecord is a record as the store and backups have it.
type sealedRecord struct {
	name  []byte // without the prefix of sessions
	value []byte
}

// recordsOf returns the sessions in a backup.
func recordsOf(t *testing.T, backup []byte) (records []sealedRecord) {
	t.Helper()
	rest, found := bytes.CutPrefix(backup, []byte("caddy server_session backup 1\n"))
	if !found {
		t.Fatalf("a backup begins %.40q", backup)
	}
	for len(rest) > 0 && rest[0] == 'r' {
		keyLen, valueLen := int(rest[1]), int(binary.BigEndian.Uint32(rest[2:]))
		rest = rest[22:]
		if key := rest[:keyLen]; key[0] == 's' {
			records = append(records, sealedRecord{key[1:], rest[keyLen : keyLen+valueLen]})
		}
		rest = rest[keyLen+valueLen:]
	}
	return records
}

const recordHead = 1 + 4 + 16 + 8 + 1 + 8 + 8 + 3*8 + 4 + 16 + 2

// opens says whether a key opens the record.
func (r sealedRecord) opens(key []byte) bool {
	block, err := aes.NewCipher(key)
	if err != nil {
		return false
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return false
	}
	head, nonce, sealed := r.value[:recordHead], r.value[recordHead:recordHead+12], r.value[recordHead+12:]
	_, err = aead.Open(nil, nonce, sealed, append(bytes.Clone(head), r.name...))
	return err == nil
}

// sealKey derives the key of a record from what a browser and the key ring have.
func sealKey(t *testing.T, b bearer, pepper []byte, host string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, b.secret, pepper, "server_session/1/seal\x00"+sessionToken+"\x00"+host, 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keysIn tries every 32 bytes that stand together in a dump as the key of the
// records, and returns how many of them are one.
func keysIn(files map[string][]byte, records []sealedRecord) (n int) {
	for _, data := range files {
		for at := 0; at+32 <= len(data); at++ {
			window := data[at : at+32]
			if window[0] == 0 && window[31] == 0 && len(bytes.Trim(window, "\x00")) == 0 {
				continue
			}
			for _, r := range records {
				if r.opens(window) {
					n++
				}
			}
		}
	}
	return n
}

// TestDumpOpensNothing: a thief of the store, be it running, stopped or killed,
// has no cookie, no token, and no key to a record. The keys are in a file of
// their own.
func TestDumpOpensNothing(t *testing.T) {
	t.Parallel()
	need(t, "server_session")
	var canaries []string
	u := newUpstream(t, func(w *upstreamConn, r *request) bool {
		canary := canaries[len(canaries)-1]
		switch r.target {
		case "/logout":
			w.send(ok("bye", `Clear-Site-Data: "cookies"`))
		case "/large":
			w.send(ok("hi", "Set-Cookie: large="+strings.Repeat(canary, 1000)+"; Path=/; HttpOnly"))
		default:
			w.send(ok("hi", "Set-Cookie: sid="+canary+"; Path=/; HttpOnly"))
		}
		return true
	})
	x := newSite(t, "https")
	keyFile := filepath.Join(t.TempDir(), "session.keys")
	conf := siteWith(x, "server_session", u.addr)
	conf.global = "server_session {\n\t\tkey_file " + keyFile + "\n\t}"
	s := start(t, conf)
	c := newClient(t, s, x, "h1")
	var tokens []bearer
	visit := func(method, target, session string) string {
		canaries = append(canaries, newCanary())
		r := c.do(method, target, "Cookie: "+session)
		if lines := r.setCookies(); len(lines) > 0 && !isDeletion(lines[0]) {
			session = r.session(t)
			tokens = append(tokens, parseBearer(t, session))
		}
		return session
	}
	plain := visit("GET", "/", "")
	rotated := visit("POST", "/login", visit("GET", "/", "")) // the record before is frozen
	visit("GET", "/large", rotated)
	visit("GET", "/logout", visit("GET", "/", "")) // ended
	visit("GET", "/", plain)

	backup := s.mustAdmin("/server_session/backup")
	records := recordsOf(t, backup)
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var peppers [][]byte
	for line := range strings.Lines(string(text)) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pepper, err := base64.RawURLEncoding.DecodeString(word); err == nil && len(pepper) == 32 {
			peppers = append(peppers, pepper)
		}
	}
	if len(peppers) != 1 || len(records) < 3 || len(tokens) < 4 {
		t.Fatalf("%d peppers, %d records, %d tokens", len(peppers), len(records), len(tokens))
	}

	// The controls: all of it opens a record together, and what stood in the
	// dump would be found.
	key := sealKey(t, tokens[0], peppers[0], x.host)
	opened := 0
	for _, r := range records {
		if r.opens(key) {
			opened++
		}
	}
	if opened != 1 {
		t.Fatalf("token and key ring open %d records; the formats are not as docs/security.md says", opened)
	}
	planted := map[string][]byte{"planted": bytes.Join([][]byte{[]byte("x"), key, tokens[0].secret, peppers[0], []byte("x")}, []byte("--"))}
	if keysIn(planted, records) != 1 || len(findings(planted, "secret", tokens[0].secret)) != 1 ||
		len(findings(planted, "pepper", peppers[0])) != 1 {
		t.Error("the search does not find what is there")
	}

	scan := func(when string) {
		t.Helper()
		files := s.dump()
		files["backup"] = backup
		var found []string
		for name, data := range files {
			found = append(found, search("file "+name, data, canaries)...)
		}
		for _, b := range tokens {
			found = append(found, findings(files, "a token", []byte(b.value))...)
			found = append(found, findings(files, "the secret of a token", b.secret)...)
		}
		for _, pepper := range peppers {
			found = append(found, findings(files, "a key of the ring", pepper)...)
		}
		if n := keysIn(files, records[:3]); n > 0 {
			found = append(found, fmt.Sprintf("%d keys of records", n))
		}
		for _, f := range found {
			t.Errorf("%s: %s", when, f)
		}
	}
	scan("running")
	s.stop()
	scan("stopped")
	s.boot(s.conf)
	visit("GET", "/", plain)
	s.kill9()
	scan("killed")
}
