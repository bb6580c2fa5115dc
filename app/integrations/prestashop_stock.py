"""Stock of products: records of stock_availables, one for each shop that keeps its own; no record of a combination.

    quantity -> "7", or "3/5" when shops differ        write -> read, compared with what was seen, PUT record by record
"""

from __future__ import annotations

from app.integrations.prestashop_build import put
from app.integrations.prestashop_fields import normal
from app.integrations.prestashop_shop import Shop, number
from app.integrations.prestashop_xml import Element, text
from app.integrations.service_errors import ItemRefused, Limited
from app.support.messages import Message


class Stock:
    """The stock of the products of a shop."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def quantity(self, product_id: str) -> str:
        """The quantity of a product. Raises ItemRefused when the shop keeps none."""
        return _quantity(self._records(product_id))

    def write(self, product_id: str, quantity: str, seen: str | None) -> None:
        """Set the quantity of a product. Raises Limited when it is not `seen` any more, unless that is None."""
        records = self._records(product_id)
        if seen is not None and _quantity(records) not in (seen, quantity):
            raise changed(product_id)
        for record in records:
            if normal("quantity", text(record, "quantity")) != quantity:
                put(record, "quantity", quantity)
                self._shop.save("PUT", f"stock_availables/{number(record)}", record)

    def _records(self, product_id: str) -> list[Element]:
        rows = self._shop.call("GET", "stock_availables", {
            "filter[id_product]": f"[{product_id}]", "filter[id_product_attribute]": "[0]", "display": "full"})
        found = [row for row in rows.iter("stock_available") if text(row, "id_product") == product_id
                 and text(row, "id_product_attribute") in ("", "0")]
        if not found:
            raise ItemRefused(Message("The shop keeps no stock of product #%(id)s.", id=product_id))
        return found


def changed(product_id: str) -> Limited:
    """The error for a product that is not any more what it was when it was compared: the item waits a second."""
    return Limited(Message("Somebody changed product #%(id)s in the shop at this moment.", id=product_id), 1.0)


def _quantity(records: list[Element]) -> str:
    return "/".join(dict.fromkeys(normal("quantity", text(record, "quantity")) for record in records))
