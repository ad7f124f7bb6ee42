"""What the gateway serves besides the contract's routes: pages for people, documents, and its signs of life."""

from gateway.pages.documents import documents
from gateway.pages.giving import giving_pages
from gateway.pages.page import NO_STORE, Page, Pages, readable
from gateway.pages.vital import signs_of_life

__all__ = ["NO_STORE", "Page", "Pages", "documents", "giving_pages", "readable", "signs_of_life"]
