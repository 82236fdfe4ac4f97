"""Runbooks for the plugin `kit` of the box."""

GREET = """
name: greet
description: Look, then change
inputs:
  text: {type: string, required: true, description: What to say}
steps:
  - {id: look, plugin: kit, action: look, params: {text: "{{ inputs.text }}"}}
  - {id: change, plugin: kit, action: change, params: {text: "{{ steps.look.output.text }}"}}
outputs:
  said: "{{ steps.look.output.text }}"
"""

QUICK = """
name: quick
steps:
  - {id: look, plugin: kit, action: look, params: {text: hello}}
  - {id: each, plugin: kit, action: look, for_each: [a, b, c], params: {text: "{{ item }}"}, depends_on: look}
outputs:
  said: "{{ steps.look.output }}"
  number: "{{ 42 }}"
"""

ASKS = f"""
name: asks
steps:
  - {{id: agree, type: approval, text: "{"Delete the oldest files? " * 5}"}}
"""

BROKEN = """
name: broken
steps:
  - {id: fail, plugin: kit, action: fail, retry: {attempts: 1}}
"""

WRONG = """
name: wrong
steps:
  - {id: a, plugin: kit, acton: look}
  - {id: b, plugin: kit, action: look, depends_on: [nowhere]}
"""

LOST = """
name: lost
steps:
  - {id: lose, plugin: kit, action: lose}
"""
