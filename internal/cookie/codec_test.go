package cookie

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// variedJar has every attribute, every way to be encoded, and odd bytes.
func variedJar(t testing.TB) *Jar {
	return mustSet(t, requestTo(t, "https://shop.example.org/shop/cart"),
		"sid=31d4d96e; Secure; HttpOnly; SameSite=Strict; Path=/",
		"a=1; Max-Age=3600; SameSite=Lax",
		"b=\xff\x80\t\"\u00fc; Domain=example.org; Expires=1 jan 2027 0:0:0; SameSite=None; Secure",
		"c=; Domain=shop.example.org; Path=/shop",
		"=nameless; Path=/a/longer/path/than/others",
		"a=9; Max-Age=7200",
		"large="+strings.Repeat("0123456789", 60),
	)
}

func TestCodec(t *testing.T) {
	for _, jar := range []*Jar{variedJar(t), mustSet(t, requestTo(t, "http://h/"), "a="), {cookies: []Cookie{}}} {
		encoded := jar.AppendEncode([]byte("before"))
		if !bytes.HasPrefix(encoded, []byte("before")) {
			t.Fatal("not appended")
		}
		encoded = encoded[len("before"):]
		got, err := DecodeJar(encoded)
		if err != nil || !reflect.DeepEqual(got, jar) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, jar)
		}
		clear(encoded) // must not be kept
		if !reflect.DeepEqual(got, jar) {
			t.Error("the jar keeps what it was decoded from")
		}
	}
	if got, err := DecodeJar((*Jar)(nil).AppendEncode(nil)); err != nil || got.Len() != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	encoded := benchJar(t, 4, 225).AppendEncode(nil)
	if n := testing.AllocsPerRun(100, func() { DecodeJar(encoded) }); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

// TestCodecSize: the encoding adds little to the text.
func TestCodecSize(t *testing.T) {
	jar := benchJar(t, 10, 100)
	if text, size := textSize(jar.cookies), len(jar.AppendEncode(nil)); size > text+10*16 {
		t.Errorf("%d octets for %d", size, text)
	}
}

func TestDecodeJarRefuses(t *testing.T) {
	good := variedJar(t).AppendEncode(nil)
	for n := range good {
		if _, err := DecodeJar(good[:n]); !errors.Is(err, ErrEncoding) {
			t.Fatalf("cut after %d of %d octets: %v", n, len(good), err)
		}
	}
	if _, err := DecodeJar(append(good, 0)); !errors.Is(err, ErrEncoding) {
		t.Errorf("trailing octet: %v", err)
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if j, err := DecodeJar(bad); err == nil {
				checkJar(t, j)
			}
		}
	}

	host := Cookie{Name: "a", Value: "1", Domain: "h.example", Path: "/", HostOnly: true, Created: 1, Updated: 1}
	with := func(change func(*Cookie)) []byte {
		c := host
		change(&c)
		return (&Jar{cookies: []Cookie{c}}).AppendEncode(nil)
	}
	if _, err := DecodeJar(with(func(*Cookie) {})); err != nil {
		t.Fatal(err)
	}
	for name, encoded := range map[string][]byte{
		"nothing":       {},
		"other version": {2, 0, 0},
		"text too long": {1, 5, 'a', 0},
		"many cookies":  binary.AppendUvarint([]byte{1, 0}, 1<<62),
		"endless count": append([]byte{1, 0}, bytes.Repeat([]byte{0xff}, 11)...),
		"control":       with(func(c *Cookie) { c.Value = "\n" }),
		"control, name": with(func(c *Cookie) { c.Name = "a\x00" }),
		"control, path": with(func(c *Cookie) { c.Path = "/\x7f" }),
		"semicolon":     with(func(c *Cookie) { c.Value = "1; b=2" }),
		"equals sign":   with(func(c *Cookie) { c.Name = "a=b" }),
		"empty":         with(func(c *Cookie) { c.Name, c.Value = "", "" }),
		"no domain":     with(func(c *Cookie) { c.Domain = "" }),
		"no path":       with(func(c *Cookie) { c.Path = "" }),
		"relative path": with(func(c *Cookie) { c.Path = "a" }),
		"sequence":      with(func(c *Cookie) { c.Created = 1<<62 + 1 }),
		"order":         (&Jar{cookies: []Cookie{host, {Name: "b", Domain: "h", Path: "/long", Created: 2}}}).AppendEncode(nil),
		"twice":         (&Jar{cookies: []Cookie{host, host}}).AppendEncode(nil),
	} {
		if j, err := DecodeJar(encoded); !errors.Is(err, ErrEncoding) || j != nil {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
}

// TestDecodeJarPublicSuffix: a Domain that has become a public suffix since
// its cookie was set is not honoured, and its neighbours are.
func TestDecodeJarPublicSuffix(t *testing.T) {
	j := &Jar{cookies: []Cookie{
		{Name: "a", Value: "1", Domain: "example.org", Path: "/", Created: 1, Updated: 1},
		{Name: "b", Value: "2", Domain: "github.io", Path: "/", Created: 2, Updated: 7},
		{Name: "c", Value: "3", Domain: "github.io", Path: "/", Created: 3, Updated: 3},
		{Name: "d", Value: "4", Domain: "github.io", Path: "/", Created: 4, Updated: 4, HostOnly: true},
		{Name: "e", Value: "5", Domain: "github.io", Path: "/", Created: 5, Updated: 5},
	}}
	got, err := DecodeJar(j.AppendEncode(nil))
	if err != nil || got.Len() != 2 || !got.Has("a") || !got.Has("d") || got.last != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
	checkJar(t, got)
}

// checkJar fails the test if the jar is not one that could have been set.
func checkJar(t *testing.T, j *Jar) {
	t.Helper()
	size := 0
	for i := range j.cookies {
		c := &j.cookies[i]
		size += c.footprint()
		if c.wellFormed() != nil || hasControl(c.Name+c.Value+c.Domain+c.Path) ||
			!c.HostOnly && isPublicSuffix(c.Domain) || c.Created > j.last || c.Updated > j.last ||
			i > 0 && !j.cookies[i-1].before(c) {
			t.Errorf("%+v in %+v", c, j)
		}
	}
	if size != j.Size() || len(j.cookies) != j.Len() {
		t.Errorf("size %d, not %d", j.Size(), size)
	}
}

func FuzzDecodeJar(f *testing.F) {
	f.Add(variedJar(f).AppendEncode(nil))
	f.Add((*Jar)(nil).AppendEncode(nil))
	f.Add([]byte{1, 3, 'a', 'h', '/', 1, 1, 1, 0, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := DecodeJar(b)
		if err != nil {
			return
		}
		checkJar(t, j)
		j.Header(benchRequest, benchTime, 10)
		for c := range j.All() {
			c.SetCookieLine(benchTime)
		}
		again, err := DecodeJar(j.AppendEncode(nil))
		if err != nil || !reflect.DeepEqual(again.cookies, j.cookies) {
			t.Errorf("%+v became %+v, %v", j, again, err)
		}
		e := j.Edit()
		if c, err := ParseSetCookie("new=1", benchTime); err != nil {
			t.Fatal(err)
		} else if _, err := e.Set(c, benchRequest, benchTime, Limits{MaxCookies: 2}); err != nil {
			t.Fatal(err)
		}
		if checkJar(t, e.Jar()); e.Jar().Len() > 2 || !e.Jar().Has("new") {
			t.Errorf("%+v", e.Jar())
		}
	})
}
