package caddy_test

import (
	"fmt"
	"strings"
)

// targets are the names of cookies that attacks are aimed at: those of several
// frameworks, and names with every character that some backend folds. The rules
// of the site without sessions name those that are not built in.
var targets = []target{
	{name: "PHPSESSID", builtIn: true},
	{name: "JSESSIONID", builtIn: true},
	{name: "ASP.NET_SessionId", builtIn: true},
	{name: "sessionid"},
	{name: "connect.sid"},
	{name: "laravel_session"},
	{name: "prefs[theme]"},
	{name: "MixedCaseKey"},
	{name: "__Host-auth"},
}

type target struct {
	name    string
	builtIn bool
}

// An attack is a Cookie header of a client who wants a backend to see the value
// evil under the name of a target.
type attack struct {
	why string
	// lines are Cookie header lines. What stands for the name is told by spell.
	lines []string
}

// spell writes an attack for a target.
func (a attack) spell(name string) []string {
	half := len(name) / 2
	first, last := name[:1], name[len(name)-1:]
	replacer := strings.NewReplacer(
		"{name}", name,
		"{lower}", strings.ToLower(name),
		"{upper}", strings.ToUpper(name),
		"{swap}", swapCase(name),
		"{head}", name[:half],
		"{tail}", name[half:],
		"{first}", first,
		"{rest}", name[1:],
		"{start}", name[:len(name)-1],
		"{last}", last,
		"{array}", strings.TrimSuffix(strings.ReplaceAll(name, "[", ""), "]"),
		"{base}", phpKey(name),
		"{dots}", strings.ReplaceAll(name, "_", "."),
		"{spaces}", folded(name, " "),
		"{underscores}", folded(name, "_"),
		"{hyphens}", folded(name, "-"),
		"{pluses}", folded(name, "+"),
		"{brackets}", folded(name, "["),
		"{escaped}", escaped(name, "%%%02x"),
		"{Escaped}", escaped(name, "%%%02X"),
		"{escapedtwice}", escaped(name, "%%25%02x"),
		"{u}", escaped(name, "%%u%04x"),
		"{U}", escaped(name, "\\u%04x"),
		"{x}", escaped(name, "\\x%02x"),
		"{octal}", escaped(name, "\\%03o"),
		"{entity}", escaped(name, "&#%d;"),
		"{backslashes}", escaped(name, "\\%c"),
		"{fullwidth}", fullwidth(name),
		"{longs}", strings.NewReplacer("s", "\u017f", "S", "\u017f").Replace(name),
		"{kelvin}", strings.NewReplacer("k", "\u212a", "K", "\u212a").Replace(name),
		"{dotless}", strings.NewReplacer("i", "\u0131", "I", "\u0131").Replace(name),
		"{dotted}", strings.NewReplacer("i", "\u0130", "I", "\u0130").Replace(name),
		"{cyrillic}", strings.NewReplacer("e", "\u0435", "E", "\u0415", "s", "\u0455", "S", "\u0405").Replace(name),
		"{utf16}", strings.Join(strings.Split(name, ""), "\u0080"),
	)
	lines := make([]string, len(a.lines))
	for i, line := range a.lines {
		lines[i] = replacer.Replace(line)
	}
	return lines
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if upper := strings.ToUpper(string(r)); upper != string(r) {
			return []rune(upper)[0]
		}
		return []rune(strings.ToLower(string(r)))[0]
	}, s)
}

// folded replaces what PHP replaces by an underscore, and underscores.
func folded(name, by string) string {
	return strings.NewReplacer("_", by, ".", by, "-", by, " ", by).Replace(name)
}

func escaped(name, format string) string {
	var b strings.Builder
	for i := range len(name) {
		fmt.Fprintf(&b, format, name[i])
	}
	return b.String()
}

// fullwidth writes a name in the characters that compatibility normalisation,
// and Windows, take for ASCII.
func fullwidth(name string) string {
	return strings.Map(func(r rune) rune { return r - '!' + '\uff01' }, name)
}

// among puts a piece between others that have to arrive.
func among(why string, pieces ...string) (attacks []attack) {
	for _, piece := range pieces {
		attacks = append(attacks, attack{why, []string{"first=1; " + piece + "; last=2"}})
	}
	return attacks
}

// whole is for attacks that depend on what stands at the beginning or the end
// of the header.
func whole(why string, headers ...string) (attacks []attack) {
	for _, header := range headers {
		attacks = append(attacks, attack{why, []string{header}})
	}
	return attacks
}

// spaces are the characters that strip or trim of some language removes, in
// UTF-8, and a few bytes that are spaces in other encodings.
var spaces = []string{
	" ", "\t", "  \t",
	"\u0085", "\u00a0", "\u1680", "\u180e",
	"\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
	"\u200b", "\u200c", "\u200d", "\u200e", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\u00ad",
	"\x85", "\xa0", "\xff", "\xc2", "\xe2\x80", "\xc0\xa0", "\xe0\x80\xa0",
}

func hostileHeaders() []attack {
	var all []attack
	for _, list := range [][]attack{
		among("the name itself", "{name}=evil", "{name} = evil", "{name}\t=\tevil", "{name}=\"evil\"", "{name}==evil", "{name}=evil={name}"),
		among("case", "{lower}=evil", "{upper}=evil", "{swap}=evil", " {swap} =evil"),
		whole("alone, first, last", "{name}=evil", "{name}=evil; last=2", "first=1; {name}=evil", ";{name}=evil;", ";;; {name}=evil", "{name}=evil;;;", "  {name}=evil  "),
		among("twice", "{name}=evil; {name}=evil", "{name}=evil; {upper}=evil; {lower}=evil", "{name}=; {name}=evil", "{name}; {name}=evil"),

		// What follows a name without its own '=' may become its value.
		among("no value", "{name}", "{name}=", "{name}; =evil", "{name};=evil", "{name} ; = evil", "{name}; ==evil", "{name}=;evil",
			"{upper}", "{name}[x]", "{name}[evil]", "{name}%3D", "{name}\\", "{base}[theme]", "{name}%00", "{escaped}", "\u2000{name}", "\"{name}\"", "{name} x", "x=1 {name}; =evil"),
		among("no name", "=evil", "={name}=evil", "= {name}=evil", "=\t{name} = evil", "=\"{name}\"=evil", "=;{name}=evil", "=={name}=evil", "==={name}=evil",
			"= = {name}=evil", "=\u2000{name}=evil", "=%20{name}=evil", "={upper}=evil", "=${name}=evil", "=,{name}=evil"),

		among("percent-encoding", "{escaped}=evil", "{Escaped}=evil", "{escapedtwice}=evil", "{u}=evil", "%20{name}=evil", "{name}%20=evil", "%09{name}=evil", "{name}%00=evil",
			"{name}%00x=evil", "%00{name}=evil", "{name}%3D=evil", "{name}%3Devil", "x%3B{name}=evil", "x%3B%20{name}=evil", "x=1%3B%20{name}=evil", "{name}%5Bx%5D=evil", "{name}%5bx]=evil",
			"{head}%={tail}=evil", "%{name}=evil", "{name}%=evil", "%c2%a0{name}=evil", "%E2%80%80{name}=evil", "{name}%0d%0a=evil", "%22{name}%22=evil"),
		among("other escapes", "{octal}=evil", "{U}=evil", "{x}=evil", "{entity}=evil", "{backslashes}=evil", "\\{name}=evil", "{name}\\=evil", "\"{octal}\"=evil",
			"x=\"\\073 {name}=evil\"", "x=\"\\\" {name}=evil\"", "x=\"a\\\"; {name}=evil; y=\"b"),

		among("arrays", "{name}[]=evil", "{name}[x]=evil", "{name}[0]=evil", "{name}[x][y]=evil", "{name}[x=evil", "{name}[=evil", "{name}]=evil", "{name}[]]=evil", "{name}[x]junk=evil",
			"[{name}]=evil", "[x]{name}=evil", "[{name}=evil", "{base}[evil]=evil", "{base}[theme]=evil", "{base}[ theme]=evil", "{base}=evil", "{base}[theme][x]=evil", "{array}=evil",
			"{upper}[x]=evil", " {name}[x]=evil", "{name} [x]=evil", "{name}[x] =evil", "{name}.x=evil", "{name}.0=evil", "{name}:x=evil"),
		among("folding", "{dots}=evil", "{spaces}=evil", "{underscores}=evil", "{hyphens}=evil", "{pluses}=evil", "{brackets}=evil", ".{name}=evil", "..{name}=evil", "_{name}=evil",
			"+{name}=evil", "{name}+=evil", "{name}.=evil", "-{name}=evil", " .{name}=evil", "{head} {tail}=evil", "{head}.{tail}=evil", "{dots}[x]=evil", "{spaces}[x]=evil"),
		among("prefixes", "__Host-{name}=evil", "__Secure-{name}=evil", "__Http-{name}=evil", "..Host-{name}=evil", "_.Host-{name}=evil", " _Host-auth=evil", "_ Host-auth=evil", "._Host-auth=evil",
			"__%48ost-auth=evil", "\u2000__Host-auth=evil", "__host-AUTH=evil", "++Host-auth=evil", "_[Host-auth=evil", "[_Host-auth=evil", "$__Host-auth=evil"),

		among("letters that fold to ASCII", "{fullwidth}=evil", "{longs}=evil", "{kelvin}=evil", "{dotless}=evil", "{dotted}=evil", "{cyrillic}=evil", "{utf16}=evil",
			"{head}\u200d{tail}=evil", "{head}\u00ad{tail}=evil", "{name}\u0301=evil", "{head}\xff{tail}=evil", "\xc0\xf0{name}=evil", "{first}\u0332{rest}=evil"),

		// RFC 2109 has attributes in requests, quoted strings, and commas between cookies.
		whole("$Version", "$Version=1; {name}=evil", "$Version=\"1\"; {name}=\"evil\"; $Path=\"/\"", "$Version=0; {name}=evil", "$Version=1, {name}=evil", "$Version=1,{name}=evil",
			"$Version=1; x=1; $Path=/; {name}=evil", " $Version=1; {name}=evil", "$version=1; {name}=evil", "x=1; $Version=1; {name}=evil", "$Version=1; x=\"1; {name}=evil; y=\"2\"",
			"%24Version=1; {name}=evil", "\"$Version\"=1; {name}=evil", "\u2000$Version=1; x=\"1, {name}=evil\"", "=$Version=1; {name}=evil", ",$Version=1; {name}=evil",
			"$Version=1 {name}=evil", "$Version=1; x=\"\\\"; {name}=evil\"", "$Version=1; x=\"a\" {name}=evil", "$x={name}=evil"),
		among("reserved names", "${name}=evil", "$ {name}=evil", "$Path={name}=evil", "$Domain=x,{name}=evil", "Path=/; {name}=evil", "expires=Wed, 01 Jan 2030 00:00:00 GMT {name}=evil",
			"path=/evil", "domain=evil", "httponly {name}=evil", "x=1; secure {name}=evil"),
		among("sandwich", "x=\"1; {name}=evil; y=2\"", "x=\"1; {name}=evil", "{name}=evil; y=\"2", "x=\"1\"; {name}=\"evil\"; y=\"2\"", "\"x=1; {name}=evil; y\"=2", "x='1; {name}=evil; y=2'",
			"x=\"; {name}=evil; \"", "x=\"\"{name}=evil\"\"", "x=(1; {name}=evil; y=2)", "x={1; {name}=evil; y=2}", "x=\"a\"; \"{name}=evil\""),
		among("spaces between cookies", "x=1 {name}=evil", "x=1  {name}=evil", "x=1\t{name}=evil", "x=1 {name} =evil", "x=1 {name}= evil", "x=1 {name} = evil", "x=1 {name}\t=\tevil", "x {name}=evil",
			"x= {name}=evil", "x = {name} = evil", "x=1 \"{name}\"=evil", "x=1 y=2 {name}=evil z=3", "x=1 {upper}=evil", "x=1 {upper} = evil", "x=1 {escaped}=evil", "x=1 {name}[a]=evil", "x=1 {name}[a] =evil", "x=1 ={name}=evil",
			"x=1 \u2000{name}=evil", "x=\u2000{name}=evil", "x=1\u00a0{name}=evil", "x=1\u3000{name}=evil", "x=1\u2028{name}=evil", "x=1\x85{name}=evil", "x=1\xa0{name}=evil", "x=1 {name}", "x=1 {name} =", "x=1 y {name} = evil",
			"x=1 $Version=1 {name} =evil", "x=Wed, 01 Jan 2030 00:00:00 GMT {name} = evil"),
		among("commas between cookies", "x=1,{name}=evil", "x=1, {name}=evil", "x=1 , {name}=evil", "x=1,,{name}=evil", "x=1,{name} =evil", "x=1, {name} = evil", "x,{name}=evil", ",{name}=evil", ", {name}=evil", "{name}=evil,", "{name},=evil",
			"{name}, =evil", "x=\"1\",{name}=\"evil\"", "x=\"1,{name}=evil\"", "x=1,\"{name}\"=evil", "x=1,\"{name}\" = evil", "x=1,{upper}=evil", "x=1,{dots}=evil", "x=1,{name}[a]=evil", "x=1,={name}=evil", "x=1,=={name}=evil", "x=1\uff0c{name}=evil",
			"x=1,{name}", "x=1, {name}", "x=1,{name},y=2", "x=1,{name};=evil", "x=1,{name}[x]", "x=1,{name}[x] = evil", "x=1 ,\t{name}\t,=evil", "x=1,{escaped} =evil", "x=1,\"{name} =evil\""),
		among("quotes", "\"{name}\"=evil", "'{name}'=evil", "\"{name}=evil\"", "\"{name}=evil", "{name}\"=evil", "x=\"1\"{name}=evil", "x=\"1\" {name}=evil", "x=\"1\" {name} =evil", "x=\"1\"\t{name} =evil", "`{name}`=evil", "\u201c{name}\u201d=evil", "\"{head}\"{tail}=evil"),
		among("other separators", "x=1&{name}=evil", "x=1|{name}=evil", "x=1:{name}=evil", "x=1/{name}=evil", "x=1\\{name}=evil", "x=1?{name}=evil", "x=1#{name}=evil", "({name})=evil", "<{name}>=evil", "{{name}}=evil",
			"@{name}=evil", ":{name}=evil", "/{name}=evil", "{name}:=evil", "{name}/=evil", "{name}@=evil", "x@{name}=evil", "x=(c){name}=evil", "?{name}=evil", "{name}\\;=evil", "x=1\\; {name}=evil"),
		among("size", strings.Repeat("x", 4000)+"={name}=evil", strings.Repeat(" ", 2000)+"{name}"+strings.Repeat(" ", 2000)+"=evil", "{name}="+strings.Repeat("evil", 1000), "{name}"+strings.Repeat("[x]", 80)+"=evil",
			strings.Repeat("x=1; ", 1000)+"{name}=evil", strings.Repeat(";", 1000)+"{name}=evil", strings.Repeat("\u2000", 500)+"{name}=evil", strings.Repeat("=", 500)+"{name}=evil"),

		{
			{"several lines", []string{"first=1", "{name}=evil", "last=2"}},
			{"several lines", []string{"{name}=evil", "{name}=evil"}},
			{"several lines, quoted together", []string{`first=1; x="`, `{name}=evil; y="; last=2`}},
			{"several lines, name and value", []string{"first=1; {name}", "=evil; last=2"}},
			{"several lines, a name in two", []string{"first=1; {head}", "{tail}=evil; last=2"}},
			{"several lines, $Version in one", []string{"$Version=1", "first=1; {name}=evil; last=2"}},
			{"several lines, one empty", []string{"", "first=1; {name}=evil; last=2"}},
			{"a folded line", []string{"first=1;\r\n {name}=evil; last=2"}},
			{"a folded line between name and value", []string{"first=1; x=1\r\n\t{name}\r\n =evil; last=2"}},
		},
	} {
		all = append(all, list...)
	}
	for _, space := range spaces {
		all = append(all, among("space", space+"{name}=evil", "{name}"+space+"=evil", space+"{name}"+space+"="+space+"evil", "x=1"+space+"{name}"+space+"=evil")...)
	}
	return all
}

// honestHeaders are what browsers and scripts really send, some of it far from
// what the grammar allows. No rule and no session concerns them: they arrive
// byte for byte.
var honestHeaders = []string{
	"a=1",
	"a=1; b=2; c=3",
	"_ga=GA1.2.1234567890.1700000000; _gid=GA1.2.987654321.1700000000; _ga_ABC123=GS1.1.1700000000.1.1.1700000001.0.0.0",
	"_fbp=fb.1.1700000000000.123456789; _gcl_au=1.1.123456789.1700000000",
	`prefs={"theme": "dark", "sizes": [1, 2, 3], "session": false}`,
	`cart=[{"id":17,"qty":2},{"id":4,"qty":1}]; next=1`,
	"state=%7B%22user%22%3A%22a%20b%22%2C%22sessionid%22%3A0%7D",
	"OptanonConsent=isGpcEnabled=0&datestamp=Mon+Jan+01+2024+12%3A00%3A00+GMT%2B0100&version=202309.1.0&hosts=&groups=C0001%3A1%2CC0002%3A0",
	"CookieConsent={stamp:'abc==',necessary:true,preferences:false,ver:1,utc:1700000000000,region:'de'}",
	"token=YWJjZGVmZw==; raw=ab+/cd==; url=ab-_cd",
	"jwt=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
	"name=gr\u00fc\u00df Gott; city=\u5317\u4eac; smile=\U0001f600",
	"latin=caf\xe9; odd=\xff\xfe",
	"q=two words; sentence=the quick, brown fox",
	`quoted="with, quotes"; half="open; other=half"`,
	"path=C:\\temp\\x; back=a\\b",
	"empty=; flag; =nameless",
	"ids=1,2,3; pipe=a|b|c; amp=a=1&b=2&c=3; eq=a==b",
	"sessionid2=1; mysessionid=2; session=3; sid=4; session_id=5; PHPSESSID2=6; XJSESSIONID=7",
	"laravel=1; laravel_sessions=2; connect=3; connect.sids=4; prefs_theme=5; theme=6",
	"XSRF-TOKEN=eyJpdiI6IkZ2eVBQPT0i%3D%3D; csrftoken=abcDEF",
	"wp-settings-1=libraryContent%3Dbrowse%26editor%3Dtinymce; wp-settings-time-1=1700000000",
	"ajs_user_id=%22u-1%22; amplitude_id_abc=eyJkZXZpY2VJZCI6IjEifQ==",
	"lastvisit=Wed, 01 Jan 2025 00:00:00 GMT; since=2025-01-01T00:00:00Z",
	"url=https://app.test/a/b?c=d&e=f#g; ref=/x?sessionid",
	"note=PHPSESSID is a name, and so is sessionid",
	"a[b]=1; c[]=2; d.e=3; f g=4; h-i=5; j_k=6",
	"dup=1; dup=2; Dup=3",
	"x=$1.50; y=a$b; price=5$",
	"long=" + strings.Repeat("0123456789abcdef", 250),
}
