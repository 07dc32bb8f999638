"""How a program proves to brokers who it is."""

from stream_app import GSSAPICredentials, OAuthCredentials, SASLCredentials, SSLCredentials

__all__ = ["GSSAPICredentials", "OAuthCredentials", "SASLCredentials", "SSLCredentials"]
