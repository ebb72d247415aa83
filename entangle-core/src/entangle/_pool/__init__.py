"""The process-wide workers: who runs calls, who waits for them, who ends them."""
