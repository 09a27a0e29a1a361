"""Real servers on this machine and real faults in them, to try `diag` on. Linux only."""
