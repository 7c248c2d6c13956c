"""Do forecasts come true? Derivatives at strength 0 against what steering does, at three levels.

For each task and fold, methods are fitted to one part of the pairs and forecast on the others; then
they steer at the strengths that are to cost .03, .1, .3 and 1 nats per token, and what happens is
set beside the forecast: for single prompts, for the choice of a layer or a method, and for shares
of generated texts. The same choices are made by simpler rules on the same ground.
"""
