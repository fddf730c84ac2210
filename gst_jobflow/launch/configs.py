def write_connection_configs(project):
    return []
