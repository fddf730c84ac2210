"""What stands on nothing else of the package: errors, settings, strict models, resources, processes, programs."""
