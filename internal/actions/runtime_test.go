package actions_test

import (
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/actions"
)

func TestScript(t *testing.T) {
	t.Parallel()
	script := actions.Script(actions.WorldMain, "secret\"\u2028</script>", "(function () { return {}; });\n\n")
	const end = "})(\"main\", \"secret\\\"\\u2028\\u003c/script\\u003e\", (function () { return {}; }));\n"
	if !strings.HasSuffix(script, end) {
		t.Errorf("the script ends with %s", script[len(script)-len(end):])
	}
	if empty := actions.Script(actions.WorldLook, "n", ""); !strings.HasSuffix(empty, "(\"look\", \"n\", (function () { return {}; }));\n") {
		t.Errorf("without a driver the script ends with %s", empty[len(empty)-80:])
	}
}
