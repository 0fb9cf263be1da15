import HTTP
import Testing

struct HTTPRouterTests {
    private var router: HTTPRouter {
        var router = HTTPRouter()
        router.on("GET", "/things") { _ in .text("all") }
        router.on("POST", "/things") { _ in .text("new") }
        router.on("GET", "/things/{id}") { _, id in .text("one \(id)") }
        router.on("GET", "/things/best") { _ in .text("best") }
        return router
    }

    private func answer(_ method: String, _ path: String) async -> String {
        let response = await router.answer(HTTPRequest(method, path))
        return "\(response.status) " + String(decoding: response.body, as: UTF8.self)
    }

    @Test("the handler is chosen by method and path, exact before parameter")
    func chooses() async {
        #expect(await answer("GET", "/things") == "200 all")
        #expect(await answer("POST", "/things") == "200 new")
        #expect(await answer("HEAD", "/things") == "200 all")
        #expect(await answer("GET", "/things/a b") == "200 one a b")
        #expect(await answer("GET", "/things/best") == "200 best")
    }

    @Test("an unknown path is 404, an unknown method 405 that names the known ones")
    func unknown() async {
        for path in ["/", "", "/things/", "/things/a/b", "/thing"] { #expect(await answer("GET", path).hasPrefix("404 ")) }
        let response = await router.answer(HTTPRequest("DELETE", "/things"))
        #expect(response.status == 405)
        #expect(response.fields["Allow"] == "GET, POST")
    }
}
