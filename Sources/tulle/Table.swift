/// Aligned columns for people: a header in capitals, two blanks between columns, "-" for nothing, no blanks at a line's end.
struct Table {
    enum Style {
        case plain, good, bad

        /// SGR of ECMA-48.
        var code: String? {
            switch self {
            case .plain: nil
            case .good: "32"
            case .bad: "31"
            }
        }
    }

    struct Cell: ExpressibleByStringLiteral {
        var text: String
        var style: Style

        init(_ text: String?, _ style: Style = .plain) {
            self.text = text.map(TextWidth.printable) ?? ""
            if self.text.isEmpty { self.text = "-" }
            self.style = style
        }
        init(_ number: (some BinaryInteger)?) { self.init(number.map { String($0) }) }
        init(_ list: [String]) { self.init(list.joined(separator: ",")) }
        init(stringLiteral text: String) { self.init(text) }

        func shown(color: Bool) -> String {
            guard color, let code = style.code else { return text }
            return "\u{1b}[\(code)m\(text)\u{1b}[0m"
        }
    }

    struct Column {
        var title: String
        /// To the right, for numbers.
        var isNumber = false
        /// Left out when all its cells are "-".
        var isOptional = false
    }

    var columns: [Column]
    /// Each with a cell for each column.
    var rows: [[Cell]]

    func text(color: Bool) -> String {
        let kept = columns.indices.filter { index in
            !columns[index].isOptional || rows.contains { $0[index].text != "-" }
        }
        let lines = [columns.map { Cell($0.title) }] + rows
        let widths = kept.map { index in lines.map { TextWidth.width($0[index].text) }.max() ?? 0 }
        return lines.map { line in
            zip(kept, widths).map { index, width in
                let cell = line[index]
                let blanks = String(repeating: " ", count: width - TextWidth.width(cell.text))
                let shown = cell.shown(color: color)
                if columns[index].isNumber { return blanks + shown }
                return index == kept.last ? shown : shown + blanks
            }.joined(separator: "  ") + "\n"
        }.joined()
    }
}
