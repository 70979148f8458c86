"""The learning rate range test (Smith 2017): try rising rates on a copy of the network, and choose one."""
