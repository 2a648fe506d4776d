"""The layers between a caller and the client, one small class each; their order is the policy.

Outermost first: look up the store → join identical calls in flight → record the answer → retry → budget (per attempt)
→ limit → client.
"""
