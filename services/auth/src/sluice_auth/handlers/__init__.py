"""The HTTP side: handlers parse, call a service, and shape the answer; they decide nothing."""
