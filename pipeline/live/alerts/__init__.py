"""Alerts: rules of the configuration become messages that are raised, updated and ended.

Start with `lifecycle.py`, a pure function of the alerts so far and what a run says of the rules.
`rules.py` is the configuration, and `evaluate.py` asks a forecast, in the child process. `desk.py`
publishes, in the parent: ``alerts.json`` and one message of the Common Alerting Protocol (`cap.py`)
for each change. `webhook.py` posts them, in the child. Nothing here makes a forecast.
"""
