"""How one step is spread, retried and resumed: Prefect tasks over pools of Ray actors."""
