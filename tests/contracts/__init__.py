"""What every destination must do: one suite, a harness per destination."""
