"""How attempts reach what performs a tool: connections, addresses, the fetch tool."""
