package postgres_test

import (
	"testing"

	"github.com/agentidp/agentidp/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
