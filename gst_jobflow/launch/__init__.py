"""From a flow to work that runs: FireWorks configs, services, workers, recovery; nothing of materials."""
