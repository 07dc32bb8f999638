"""The examples, as a package: their agents are named ``examples.agent.myagent`` however they are started."""
