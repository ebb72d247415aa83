"""What people see of runs: logs, displays, traces, all made of their events."""
