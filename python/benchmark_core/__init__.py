"""Knowledge that `dlbs` and all programs that measure share; imports only the standard library."""
