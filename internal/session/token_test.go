package session

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func mustRing(tb testing.TB) *Ring {
	tb.Helper()
	r, err := NewRing(time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestTokenFormat(t *testing.T) {
	r := mustRing(t)
	tok := newToken(r.active())
	value := tok.CookieValue()
	if len(value) != 71 || TokenLen != 71 {
		t.Errorf("%d characters, TokenLen %d", len(value), TokenLen)
	}
	if strings.Trim(value, tokenAlphabet) != "" {
		t.Errorf("%q is not base64url", value)
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 53 || raw[0] != 1 || !bytes.Equal(raw[1:5], r.active().id[:]) || !bytes.Equal(raw[5:37], tok.secret[:]) {
		t.Errorf("%x", raw)
	}
	if again := tok.CookieValue(); again != value {
		t.Errorf("%q, then %q", value, again)
	}
	admitted := r.admit(value)
	if admitted == nil {
		t.Fatal("it is not admitted")
	}
	if admitted.key != tok.key || admitted.secret != tok.secret || admitted.CookieValue() != value {
		t.Error("another token was admitted")
	}
}

// One octet of difference anywhere, and it is not ours.
func TestAdmitRefusesEveryChange(t *testing.T) {
	r := mustRing(t)
	value := newToken(r.active()).CookieValue()
	others := tokenAlphabet + "=+/.~ %\"\n\r\t\x00\x80\xff"
	for i := range value {
		for _, c := range []byte(others) {
			changed := []byte(value)
			if changed[i] == c {
				continue
			}
			changed[i] = c
			if r.admit(string(changed)) != nil {
				t.Errorf("%q instead of %q at %d is admitted", c, value[i], i)
			}
		}
	}
	for i := range value {
		for _, changed := range []string{value[:i], value[i+1:], value[:i] + value[i+1:], value[:i] + "A" + value[i:], value[:i] + "\n" + value[i:]} {
			if r.admit(changed) != nil {
				t.Errorf("%q is admitted", changed)
			}
		}
		for j := i + 1; j < len(value); j++ {
			swapped := []byte(value)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if string(swapped) != value && r.admit(string(swapped)) != nil {
				t.Errorf("swapping %d and %d is admitted", i, j)
			}
		}
	}
	for _, changed := range []string{
		"", value + "=", value + "A", " " + value, value + " ", `"` + value + `"`, value + value, strings.ToUpper(value), strings.ToLower(value),
		strings.Repeat("A", TokenLen), strings.Repeat("\n", TokenLen), value[:69] + "\r\n", value[:70] + "=", value[:68] + "===",
	} {
		if r.admit(changed) != nil {
			t.Errorf("%q is admitted", changed)
		}
	}
}

// The last character has two bits to spare. Lenient decoders ignore them, and
// line breaks, so that one session would have many names.
func TestAdmitRefusesOtherSpellings(t *testing.T) {
	r := mustRing(t)
	value := newToken(r.active()).CookieValue()
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	spellings := 0
	for _, c := range []byte(tokenAlphabet) {
		other := value[:70] + string(c)
		if b, err := base64.RawURLEncoding.DecodeString(other); other != value && err == nil && bytes.Equal(b, raw) {
			spellings++
			if r.admit(other) != nil {
				t.Errorf("%q is admitted", other)
			}
		}
	}
	if spellings != 3 {
		t.Errorf("%d other spellings, want 3: the test is wrong", spellings)
	}
	// Both of a length that is right: what is decoded, or what is written.
	for _, other := range []string{
		value[:35] + "\n" + value[35:], value[:35] + "\r\n" + value[35:70],
		base64.URLEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw)[:70] + "+",
	} {
		if r.admit(other) != nil {
			t.Errorf("%q is admitted", other)
		}
	}
}

func TestAdmitKnowsItsKeysOnly(t *testing.T) {
	ours, theirs := mustRing(t), mustRing(t)
	if ours.admit(newToken(theirs.active()).CookieValue()) != nil {
		t.Error("a token of another ring is admitted")
	}
	both := &Ring{keys: []*key{ours.keys[0], theirs.keys[0]}}
	for _, k := range both.keys {
		value := newToken(k).CookieValue()
		tok := both.admit(value)
		if tok == nil || tok.key != k {
			t.Errorf("a token of %v is not admitted", k)
		}
		// Under the id of the other key, the tag is wrong.
		raw, err := tokenEncoding.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range both.keys {
			if other != k {
				copy(raw[1:5], other.id[:])
			}
		}
		if both.admit(tokenEncoding.EncodeToString(raw)) != nil {
			t.Errorf("a token of %v is admitted under the id of the other key", k)
		}
	}
	// Whoever knows the layout, but no key.
	forged := make([]byte, tokenSize)
	forged[0] = tokenVersion
	copy(forged[1:], ours.active().id[:])
	for range 1000 {
		if ours.admit(tokenEncoding.EncodeToString(forged)) != nil {
			t.Fatal("a forged token is admitted")
		}
		forged[tokenSize-1]++
		forged[tokenSize-2] += 7
	}
	// Another version, with a tag that is right.
	tok := newToken(ours.active())
	b := append([]byte{tokenVersion + 1}, ours.active().id[:]...)
	b = append(b, tok.secret[:]...)
	tag := ours.active().tag.sum(b, "")
	if ours.admit(tokenEncoding.EncodeToString(append(b, tag[:tagSize]...))) != nil {
		t.Error("a token of another version is admitted")
	}
}

func TestTokensAreUnique(t *testing.T) {
	k := mustRing(t).active()
	secrets := make(map[[secretSize]byte]bool)
	var ones [secretSize * 8]int
	const n = 100_000
	for range n {
		tok := newToken(k)
		if secrets[tok.secret] {
			t.Fatal("a secret was made twice")
		}
		secrets[tok.secret] = true
		for i := range ones {
			ones[i] += int(tok.secret[i/8] >> (i % 8) & 1)
		}
	}
	// Each bit is a fair coin: 50 standard deviations would be 7900.
	for i, sum := range ones {
		if sum < n/2-2000 || sum > n/2+2000 {
			t.Errorf("bit %d is set in %d of %d secrets", i, sum, n)
		}
	}
}

func TestAdmitAsksNoStore(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.create("a=1")
	value := tok.CookieValue()
	wantCalls(t, "calls of the store", w.calls, 0, func() {
		for range 100 {
			if w.m.Admit(value) == nil || w.m.Admit(value[1:]+"A") != nil || w.m.Admit("x") != nil {
				t.Fatal("wrong answer")
			}
		}
	})
	// Ordinary values of the same length are refused without work.
	ordinary := strings.Repeat("x", TokenLen)
	if n := testing.AllocsPerRun(100, func() { w.m.Admit(ordinary) }); n != 0 {
		t.Errorf("refusing allocates %v times", n)
	}
}

func TestScopesAreApart(t *testing.T) {
	w := newWorld(t, uncached)
	tok := w.create("a=1")
	for _, s := range []Scope{
		NewScope("__Host-Http-session", "other.example.org"),
		NewScope("__Host-Http-other", testHost),
		NewScope("__Host-Http-session", ""),
		NewScope("", testHost),
		NewScope("__Host-Http-session"+testHost, ""),
		NewScope("__Host-Http-sessio", "n"+testHost),
		{},
	} {
		if tok.lookup(s) == tok.lookup(testScope) {
			t.Errorf("%q has the lookup key of %q", s, testScope)
		}
		if tok.key.scopeID(s) == tok.key.scopeID(testScope) {
			t.Errorf("%q has the id of %q", s, testScope)
		}
		a, errA := tok.key.sealKey(tok, s)
		b, errB := tok.key.sealKey(tok, testScope)
		if errA != nil || errB != nil || bytes.Equal(a, b) {
			t.Errorf("%q seals with the key of %q", s, testScope)
		}
		if _, err := w.m.Load(t.Context(), tok, s, Use{}, w.c); !errors.Is(err, ErrNoSession) {
			t.Errorf("%q: error %v", s, err)
		}
	}
	// Its own scope it opens.
	w.wantCookies(tok, Use{}, "a=1")
}

// What is derived from one secret, or one pepper, is not derived twice.
func TestDerivationsAreApart(t *testing.T) {
	r := mustRing(t)
	k := r.active()
	tok := newToken(k)
	seal, err := k.sealKey(tok, testScope)
	if err != nil {
		t.Fatal(err)
	}
	name, id := tok.lookup(testScope), k.scopeID(testScope)
	raw, err := tokenEncoding.DecodeString(tok.CookieValue())
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string][]byte{
		"lookup": name[:], "seal key": seal, "scope id": id[:], "tag": raw[tokenSize-tagSize:], "secret": tok.secret[:], "pepper": k.pepper[:], "key id": k.id[:],
	}
	for what, a := range outputs {
		for other, b := range outputs {
			if n := min(len(a), len(b)); what != other && bytes.Equal(a[:n], b[:n]) {
				t.Errorf("%s begins as %s", what, other)
			}
		}
	}
}

// Nothing that prints, prints a secret.
func TestRedaction(t *testing.T) {
	r := mustRing(t)
	k := r.active()
	tok := newToken(k)
	var leaks []string
	leaks = append(leaks, secretsOf(tok.secret[:])...)
	leaks = append(leaks, secretsOf(k.pepper[:])...)
	leaks = append(leaks, tok.CookieValue())

	type holder struct {
		Token *Token
		Value Token
		Ring  *Ring
		Keys  []*key
		Any   any
	}
	h := holder{tok, *tok, r, r.keys, tok}
	values := map[string]any{
		"token": tok, "Token": *tok, "ring": r, "Ring": *r, "key": k, "Key": *k, "holder": h, "&holder": &h,
		"tokens": []*Token{tok}, "Tokens": []Token{*tok}, "map": map[string]*Token{"t": tok}, "keys": map[*key]key{k: *k},
	}
	check := func(what, out string) {
		t.Helper()
		for _, leak := range leaks {
			if strings.Contains(out, leak) {
				t.Errorf("%s prints %q", what, out)
			}
		}
	}
	for what, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%08v", "%T"} {
			check(what+" "+verb, fmt.Sprintf(verb, v))
		}
		check(what+" in an error", fmt.Errorf("failed: %w", fmt.Errorf("%v", v)).Error())
		b, err := json.Marshal(v)
		if err != nil && !strings.Contains(err.Error(), "unsupported type") {
			t.Errorf("%s: %v", what, err)
		}
		check(what+" as JSON", string(b))

		var buf bytes.Buffer
		for _, encoder := range []zapcore.Encoder{
			zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		} {
			log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&buf), zapcore.DebugLevel))
			log.Debug("x", zap.Any("any", v), zap.Reflect("reflect", v), zap.Error(fmt.Errorf("%+v", v)))
			log.Sugar().Infof("%v %+v %#v", v, v, v)
			log.Sugar().Infow("x", "v", v)
		}
		check(what+" with zap", buf.String())
		if !strings.Contains(buf.String(), "reflect") {
			t.Errorf("%s: zap wrote nothing", what)
		}
	}
	for v, want := range map[any]string{tok: "[session token]", *tok: "[session token]", r: "ring of 1 keys", k: fmt.Sprintf("key %x", k.id)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
			if got := fmt.Sprintf(verb, v); got != want {
				t.Errorf("%s prints %q, want %q", verb, got, want)
			}
		}
	}
}

func TestHandles(t *testing.T) {
	w := newWorld(t, cached)
	tok := w.create("a=1")
	s := w.load(tok, Use{})
	handle := s.Handle()
	if len(handle) != 16 || strings.Trim(handle, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Errorf("handle %q", handle)
	}
	if other := w.load(w.create("a=1"), Use{}).Handle(); other == handle {
		t.Error("two sessions have one handle")
	}
	w.keep(tok, s, Use{})
	if after := w.load(tok, Use{}).Handle(); after != handle {
		t.Errorf("handle %q, then %q", handle, after)
	}
	if w.m.Admit(handle) != nil {
		t.Error("a handle is admitted")
	}
}

// fixedRing is the same in every run, for seeds and bytes of fuzz tests.
func fixedRing(tb testing.TB) *Ring {
	tb.Helper()
	r := new(Ring)
	for i := range 2 {
		pepper := [pepperSize]byte{byte(i), 1, 2, 3}
		if err := r.add(pepper, time.UnixMilli(1_700_000_000_000)); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func fixedToken(r *Ring, n byte) *Token {
	return &Token{key: r.keys[int(n)%len(r.keys)], secret: [secretSize]byte{n, 9, 8}}
}

func FuzzAdmit(f *testing.F) {
	r := fixedRing(f)
	for n := range byte(4) {
		value := fixedToken(r, n).CookieValue()
		f.Add(value)
		f.Add(value[:70])
		f.Add(value[:70] + "A")
		f.Add(value[:69] + "\n" + value[69:])
		f.Add("A" + value[1:])
		f.Add("B" + value[1:])
	}
	f.Add("")
	f.Add(strings.Repeat("A", TokenLen))
	f.Fuzz(func(t *testing.T, value string) {
		tok := r.admit(value)
		if tok == nil {
			return
		}
		// A token has one spelling.
		if tok.CookieValue() != value {
			t.Fatalf("%q is admitted as %q", value, tok.CookieValue())
		}
		// And nobody finds one that was not made here.
		for n := range byte(4) {
			if made := fixedToken(r, n); made.secret == tok.secret && made.key == tok.key {
				return
			}
		}
		t.Fatalf("%q is admitted", value)
	})
}
