"""An emulator of an Azure Container Apps session pool, with real IPython kernels."""
