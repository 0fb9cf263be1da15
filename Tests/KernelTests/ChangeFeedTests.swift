import Fabric
import Testing

@testable import Kernel

@Suite("The feed of changes", .timeLimit(.minutes(1)))
struct ChangeFeedTests {
    private let a = NamespaceID.network(netA), b = NamespaceID.network(netB)

    @Test("what happens before it is heard is heard once")
    func coalesced() async {
        let feed = ChangeFeed()
        var stream = feed.stream().makeAsyncIterator()
        for _ in 0..<1000 {
            feed.post(a)
            feed.post(b)
        }
        let heard = [await stream.next(), await stream.next()]
        #expect(Set(heard) == [a, b])
        feed.post(a)
        #expect(await stream.next() == a)
    }

    @Test("a change reaches its reader, whether he waits already or comes later", arguments: 0..<100)
    func waiting(round: Int) async {
        let feed = ChangeFeed()
        let waiter = Task {
            for await id in feed.stream() { return id }
            return NamespaceID.host
        }
        if round % 2 == 0 { await Task.yield() }
        feed.post(b)
        #expect(await waiter.value == b)
    }

    @Test("it ends with its reader's task", arguments: 0..<100)
    func cancelled(round: Int) async {
        let feed = ChangeFeed()
        let waiter = Task {
            var count = 0
            for await _ in feed.stream() { count += 1 }
            return count
        }
        if round % 2 == 0 { await Task.yield() }
        waiter.cancel()
        #expect(await waiter.value == 0)
    }
}
