"""Is ODESteer's field linear, does its ODE matter, and is h a log-ratio? By behaviour and barrier."""
