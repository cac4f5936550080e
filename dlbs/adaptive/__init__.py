"""Plans whose next experiments depend on results: run until known, and bisection."""
