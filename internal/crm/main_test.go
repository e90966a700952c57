package crm

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }
