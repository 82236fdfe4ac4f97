"""Schedules: bundles that start by the clock, once at a moment, or on an event.

`cron` says when, `spec` what a schedule may say, `due` what follows; `schedules` does it, durably.
Source: runtime API, sections 3.7 and 3.8; docs/guide/schedules.md.
"""
