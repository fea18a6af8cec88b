"""One command in a baseline and in variants of it: how its tests are heard, what they and the output say, and the verdict.

A command → `recognise` (variables that make its tools write reports) → runs → `heard` (reports and output → tests), `notices`
(output → warnings) → `verdict`. `bisect` and `smallest` say which verdict they need next, `matrix` lists combinations.
"""
