"""Deployments: versions of a job under one key, brought into service without an interruption.

`policy` says how, `steps` what follows, `rollouts` does it, durably; `deployments` is what people ask.
Source: runtime API, sections 3.5 and 3.6; docs/guide/deployments.md.
"""
