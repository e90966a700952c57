package actionstest

import (
	"fmt"
	"strings"
)

// Canary is the statement that every hostile text tries to run: a page in which
// one of them ran has the global of this name.
const Canary = "globalThis.__canary=(globalThis.__canary||0)+1"

// Hostile returns texts that break out of a string, a comment, a template, an
// attribute or a document when somebody pastes them into source. Each is a
// legal value all the same, and has to arrive unchanged.
func Hostile() []string {
	var all []string
	for _, form := range breakouts() {
		all = append(all, strings.ReplaceAll(form, "@", Canary))
	}
	return append(all, texts()...)
}

// breakouts are the forms, with @ where the statement stands.
func breakouts() []string {
	return []string{
		// Out of a string.
		`';@;'`, `";@;"`, "`;@;`", `';@;//`, `";@;//`, "`;@;//",
		`\';@;//`, `\";@;//`, "\\`;@;//", `\\';@;//`, `\\";@;//`, `\\\";@;//`,
		`'+(@)+'`, `"+(@)+"`, "`+(@)+`", `'-(@)-'`, `"-(@)-"`, `'||(@)||'`,
		`',@,'`, `",@,"`, `');@;('`, `");@;("`, "`);@;(`", `'});@;({'`, `"});@;({"`,
		`']);@;(['`, `"]);@;(["`, `'}};@;//`, `"}};@;//`, `"}]};@;//`,
		"\\\n';@;//", "\n;@;\n", "\r\n;@;\r\n", "\u2028;@;\u2028", "\u2029;@;\u2029", "\u0085;@;",
		"'\u2028;@;//", "\"\u2029;@;//", "//\n@", "/*\n*/@//", `*/@/*`, `*/;@;/*`, "-->\n@", "<!--\n@",
		// Out of a template.
		`${@}`, "`${@}`", `$\{@}`, `\${@}`, `{{@}}`, `{{constructor.constructor("@")()}}`, `<%= @ %>`, `#{@}`, `%{@}`, `[[@]]`,
		// Escapes that somebody may undo.
		`\u0027;@;//`, `\x27;@;//`, `\47;@;//`, `\u0022;@;//`, `\u{27};@;//`, `%27;@;//`, `&#39;;@;//`, `&quot;;@;//`, `\0';@;//`,
		// Out of an element or an attribute.
		`</script><script>@</script>`, `</SCRIPT ><script>@</script>`, `<!--<script>@</script>`, `]]><script>@</script>`,
		`"><script>@</script>`, `'><script>@</script>`, `<img src=x onerror="@">`, `"><img src=x onerror=@>`,
		`<svg onload="@">`, `<svg/onload=@>`, `<iframe srcdoc="<script>parent.@</script>">`, `<body onload="@">`,
		`" onmouseover="@" x="`, `' autofocus onfocus='@' x='`, `<details open ontoggle="@">`, `<style>@import"x"</style><script>@</script>`,
		`<math><mtext><script>@</script>`, `</title><script>@</script>`, `</textarea><script>@</script>`, `<base href="javascript:@//">`,
		// Addresses that run.
		`javascript:@`, ` javascript:@`, "java\tscript:@", `JaVaScRiPt:@`, `data:text/html,<script>@</script>`, `javascript://%0a@`,
		// Code that is a value.
		`(()=>{@})()`, `function(){@}()`, `eval("@")`, `new Function("@")()`, `import("data:text/javascript,@")`,
		`constructor.constructor("@")()`, `__proto__`, `constructor`, `prototype`, `__proto__.polluted`, `{"__proto__":{"polluted":1}}`,
		`{"toJSON":"@"}`, `{"then":"@"}`, `;@`, `@`, `0;@`, `null;@`, `return @`, `throw @`, `await @`,
		// Names of our own.
		`__parley.call("open","{}");@`, `__parleyEmit("{}");@`, `globalThis.__parley=null;@`,
	}
}

// texts are hard for encoders rather than for parsers.
func texts() []string {
	return []string{
		"\x00", "a\x00b", "\x01\x02\x1f\x7f", "\ufeffbom", "\ufffd", "\u202eevil\u202c", "\u200b\u200d\u2060",
		"e\u0301", "\u00e9", strings.Repeat("\\", 99), strings.Repeat(`"`, 99), strings.Repeat("'", 99),
		`\`, `"`, `'`, "`", `\n`, "%s%d%n", "$(id)", "`id`", "'; DROP TABLE users; --", "../../../../etc/passwd",
		"9007199254740993", "1e309", "NaN", "true", "null", "undefined", "[object Object]", " ", "\t\n\r",
	}
}

// Long returns a text of 10 kB.
func Long() string {
	var b strings.Builder
	for i := 0; b.Len() < 10_000; i++ {
		fmt.Fprintf(&b, "%d: a long sentence with \"quotes\" and 'more'. ", i)
	}
	return b.String()
}

// Scripts returns texts of many scripts: right to left, wide, joined.
func Scripts() []string {
	return []string{
		"مرحبا بكم في متجرنا", "שלום עולם, abc 123", "\u2067مرحبا\u2069 (right to left, isolated)",
		"日本語の文章", "한국어 문장", "ไทย", "हिन्दी", "Ελληνικά", "Žluťoučký kůň",
		"😀", "👩‍👩‍👧‍👦 family", "🏳️‍🌈🇳🇴", "👍🏽", "𝒳𝒴𝒵 𐍈", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
	}
}
