"""Other people's frameworks: DSPy, LangChain, pydantic-ai, Ray, MLflow, OpenTelemetry; each an extra of its own."""
