"""The source itself, under test: sizes, layers, words, versions, links.

Each rule is a function from a tree of files to its findings.  One test applies it to this repository, another
to a small tree with a planted mistake, so that a rule that finds nothing is known to look.
"""
