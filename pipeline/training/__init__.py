"""The Lightning side of an experiment: module, losses, schedules, callbacks."""
