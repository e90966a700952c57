package ingest_test

const asEdge = "PARLEY_TEST_EDGE"

func edgeProcess() int { return 0 }
