"""How good is a forecast: of the next event, of a horizon, of the clock."""
