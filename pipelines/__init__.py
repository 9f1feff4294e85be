"""Tables in, tables out: the data transforms and the engine that runs them."""
