"""A running graph, drawn for a terminal.  Pure: a picture is lines of text with styles, made from facts."""
