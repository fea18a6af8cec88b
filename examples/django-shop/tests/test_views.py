from shop.models import Order


def test_catalogue_lists_products_with_prices(client, assam):
    page = client.get("/").content.decode()
    assert "Assam" in page
    assert "6.50 €" in page


def test_catalogue_marks_what_is_sold_out(client, rooibos):
    assert "(sold out)" in client.get("/").content.decode()


def test_catalogue_searches(client, assam, rooibos):
    page = client.get("/", {"q": "strong"}).content.decode()
    assert "Assam" in page
    assert "Rooibos" not in page


def test_catalogue_says_when_nothing_is_found(client, assam):
    assert "Nothing found" in client.get("/", {"q": "coffee"}).content.decode()


def test_catalogue_escapes_what_was_searched_for(client, assam):
    assert "<script>" not in client.get("/", {"q": "<script>"}).content.decode()


def test_unknown_category_is_not_found(client, db):
    assert client.get("/category/coffee/").status_code == 404


def test_product_can_be_ordered(client, assam):
    answer = client.post("/product/assam/", {"email": "a@example.com", "quantity": 2}, follow=True)
    assert "Thank you" in answer.content.decode()
    assert Order.objects.get().total == 13


def test_order_of_too_many_is_refused(client, assam):
    answer = client.post("/product/assam/", {"email": "a@example.com", "quantity": 6})
    assert answer.status_code == 400
    assert "fewer than 6" in answer.content.decode()


def test_order_wants_a_real_address(client, assam):
    assert client.post("/product/assam/", {"email": "nobody", "quantity": 1}).status_code == 400
    assert not Order.objects.exists()


def test_json_lists_what_is_available(client, assam, rooibos):
    products = client.get("/api/products/").json()["products"]
    assert products == [{"slug": "assam", "name": "Assam", "price": "6.50", "stock": 5}]


def test_health_counts_products(client, assam):
    assert client.get("/health/").json() == {"status": "ok", "products": 1}


def test_admin_shows_orders_with_totals(admin_client, assam):
    Order.place("a@example.com", {assam: 2})
    assert "13.00" in admin_client.get("/admin/shop/order/").content.decode()
