"""Names that the writers of event files and the plugin that reads them share."""

PLUGIN_NAME = "moe_routing"
VERSION = 1  # of what the summaries hold
