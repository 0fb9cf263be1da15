/// Every fault, one after the other, and after each: is all well again? `docs/faults.md` says what each does and how to repeat one.
import TestKit
import Testing

extension Trait where Self == ConditionTrait {
    fileprivate static var needsShort: Self { .enabled(if: !FaultSettings.isLong, "'make faults' runs all of them") }
    /// The long ones have a switch of their own, so that `make soak` leaves them alone.
    fileprivate static func needsLong(_ kind: StoreKind) -> Self {
        .enabled(if: !FaultCase.long(kind).isEmpty, "it takes an hour: 'sudo make faults' runs it")
    }
}

@Suite("faults with the embedded store", .serialized, .needsLab, .needsShort, .lab("fault", agents: nil, prepare: FaultLab.prepareEmbedded))
struct FaultTests {
    init() async throws { try await FaultLab.recover(.embedded) }

    @Test("after each fault all is as the store says, what was acknowledged is there, and no address is two containers'", arguments: FaultCase.short(.embedded))
    func fault(one: FaultCase) async throws { try await FaultRun(one).run() }
}

@Suite("faults with etcd as the store", .serialized, .needsLab, .needsShort, .lab("faulte", agents: nil, prepare: FaultLab.prepareEtcd))
struct EtcdFaultTests {
    init() async throws { try await FaultLab.recover(.etcd) }

    @Test("after each fault all is as the store says, what was acknowledged is there, and no address is two containers'", arguments: FaultCase.short(.etcd))
    func fault(one: FaultCase) async throws { try await FaultRun(one).run() }
}

@Suite("all faults with the embedded store", .serialized, .needsLab, .needsLong(.embedded), .lab("faultl", agents: nil, prepare: FaultLab.prepareEmbedded))
struct FaultRoundTests {
    init() async throws { try await FaultLab.recover(.embedded) }

    @Test("in random order, and two at once", arguments: FaultCase.long(.embedded))
    func fault(one: FaultCase) async throws { try await FaultRun(one).run() }
}

@Suite("all faults with etcd as the store", .serialized, .needsLab, .needsLong(.etcd), .lab("faultel", agents: nil, prepare: FaultLab.prepareEtcd))
struct EtcdFaultRoundTests {
    init() async throws { try await FaultLab.recover(.etcd) }

    @Test("in random order, and two at once", arguments: FaultCase.long(.etcd))
    func fault(one: FaultCase) async throws { try await FaultRun(one).run() }
}
