"""What compile puts together: tools, upstreams, routes, patterns and argument schemas, each made ready for look-ups."""
