package vault_test

const asChild = "PARLEY_TEST_VAULT"

func childProcess() int { return 0 }
